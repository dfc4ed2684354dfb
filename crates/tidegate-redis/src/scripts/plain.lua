-- The plain layout: every bucket has a key of its own, which expires by itself.
--
-- A layout tells the script where buckets are: `locate` with what the client says of it, `read_all` and `read` of the
-- buckets of algorithms 1 to 3 by their place in KEYS, `is_elsewhere` where nothing was read, `keep` and `drop`, and for
-- hashes `last_until`.

local function locate() end

local function read(i)
  return get(KEYS[i])
end

local function read_all(count)
  if count == 0 then return {} end
  if count == 1 then return { read(1) } end
  return call('MGET', unpack(KEYS, 1, count))
end

is_member = function() return false end
local is_elsewhere = is_member

local function drop(i)
  call('DEL', KEYS[i])
end

-- There are no hashes.
local function last_until() end

-- Keeps a state. Where it is known what was there before: that text, and by how much it grew where that is one step.
local function keep(i, ask, a, b, c, raw, step)
  if ask[4] == 0 then return store(KEYS[i], ask, a, b, c) end
  local expiry = short_expiry(ask, a, b)
  if lasts(ask, raw, expiry) then
    local before = not step and tonumber(sub(raw, 1, -4))
    call('INCRBY', KEYS[i], step or format('%.0f000', (a - BASE) * RADIX + b - before))
  else
    if ask.expiry ~= expiry then
      -- Most buckets of a call expire on the same line.
      ask.expiry, ask.life = expiry, life_until(expiry)
    end
    call('PSETEX', KEYS[i], ask.life, short_form(ask, a, b))
  end
end
