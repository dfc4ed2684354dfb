-- The packed layout: buckets in the short form share hashes, in which a bucket costs a fifth of a key of its own.
--
-- A bucket's own key ends in its fingerprint. The first bits of that choose the hash, whose key ends in them; the member
-- is called after the rest. All other buckets are kept under their own keys, as in the plain layout. Where a change of
-- rules brings a bucket from one place to the other, it is nowhere to be found at first: then the other place is looked
-- at too, by a name that is made here and is not in KEYS. It has the same tag, so it is on the same node; where its slot
-- is just being moved and it is not, the bucket starts afresh.
--
-- A hash expires as a whole, when all that is in it is at rest. A member at rest means nothing and may go at any time.
-- Now and then when one is added, some are looked at, and those at rest go: so about half as many stay as are not.
--
-- GROUP_BYTES and GROUP_BITS, in front of this: how many whole bytes of the fingerprint choose the hash, and how many
-- bits of the byte after them. The member's name begins with that byte.

local FINGERPRINT = 11
-- Of so many that are added one leads to a look at so many.
local SWEEP_EVERY, SWEEP_LOOKS = 8, 24

local members

local function locate(of_keys)
  members = of_keys
end

local function member_of(i)
  local member = members[i]
  return member ~= '' and member
end

local function read(i)
  local member = member_of(i)
  if member then return call('HGET', KEYS[i], member) end
  return get(KEYS[i])
end

local function read_all(count)
  local raws, keys, places = {}, {}, {}
  for i = 1, count do
    local member = member_of(i)
    if member then
      raws[i] = call('HGET', KEYS[i], member)
    else
      local n = #keys + 1
      keys[n], places[n] = KEYS[i], i
    end
  end
  if #keys > 0 then
    for n, raw in ipairs(call('MGET', unpack(keys))) do raws[places[n]] = raw end
  end
  return raws
end

is_member = function(key)
  local from = #key - FINGERPRINT + GROUP_BYTES
  local hash = sub(key, 1, from)
  if GROUP_BITS > 0 then
    local next_ = byte(key, from + 1)
    hash = hash .. string.char(next_ - next_ % 2 ^ (8 - GROUP_BITS))
  end
  return pcall_('HEXISTS', hash, sub(key, from + 1)) == 1
end

local function is_elsewhere(i)
  local member = member_of(i)
  if not member then return is_member(KEYS[i]) end
  return pcall_('EXISTS', sub(KEYS[i], 1, GROUP_BITS > 0 and -2 or -1) .. member) == 1
end

local function drop(i)
  local member = member_of(i)
  if member then call('HDEL', KEYS[i], member) else call('DEL', KEYS[i]) end
end

-- Where in the round to the next look the script is: it begins anywhere.
local added

local function sweep(hash)
  added = (added or floor(now)) + 1
  if added % SWEEP_EVERY ~= 0 then return end
  -- Servers before 6.2 do not know it: there, all stay until the hash expires.
  local some = pcall_('HRANDFIELD', hash, SWEEP_LOOKS, 'WITHVALUES')
  local at_rest = {}
  for n = 1, #some, 2 do
    local number = tonumber(sub(some[n + 1], 1, -4))
    -- One that is over at this very instant stays: it may be among those that this call has read.
    if number and number / RADIX + BASE < now then at_rest[#at_rest + 1] = some[n] end
  end
  if #at_rest > 0 then call('HDEL', hash, unpack(at_rest)) end
end

-- Sees to it that a hash lasts until an instant. Half of the slack may be used up.
local function last_until(hash, at)
  if call('PTTL', hash) < ceil((at - now) / 1000) + slack / 2 then call('PEXPIRE', hash, life_until(at)) end
end

-- Keeps a state. Where it is known what was there before: that text, and by how much it grew where that is one step.
local function keep(i, ask, a, b, c, raw, step)
  local member, hash = member_of(i), KEYS[i]
  if not member then return store(hash, ask, a, b, c) end
  local expiry = short_expiry(ask, a, b)
  local as_it_is = lasts(ask, raw, expiry)
  -- One step is only known of a bucket that is not at rest, so no sweep has taken it.
  if as_it_is and step then return call('HINCRBY', hash, member, step) end
  call('HSET', hash, member, short_form(ask, a, b))
  if as_it_is then return end
  last_until(hash, expiry)
  if not raw then sweep(hash) end
end
