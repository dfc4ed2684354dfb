-- What every script knows about buckets: how their states are kept, read and judged.
--
-- Put in front of the other scripts, with a layout between: `plain.lua` or `packed.lua`, which know where a bucket is
-- kept. Numbers are integers below 2^53, so that doubles hold them exactly; times are microseconds since the Unix epoch.
-- A state is up to three numbers:
--
--   1 tat      TAT in whole microseconds, the fraction over L
--   2 fixed    start of the window, units used in it
--   3 sliding  start of the window, units used in it, units used in the one before
--   4 log      a list of its own, see below
--   5 permits  a sorted set of its own, see below
--
-- An ask is a list of numbers; its first five are the same for all:
--   algorithm (1 to 5), enforced (0 or 1), revision, form (1 short, 0 long), cost, then
--   1: L, step µs, step fraction, tolerance µs or -1, its fraction, fullest µs, its fraction, waiting µs or -1,
--      its fraction, rung of expiry, and as texts that INCRBY takes: the step, and the step when its fraction
--      runs over
--   2, 3, 4: window µs, room or -1, free, ceiling
--   5: life of a permit µs, room or -1, free, longest life µs

-- The short form of a tat is a decimal number, which Redis keeps in 8 bytes: the microseconds since 2026 times 8, plus
-- the fraction (L is at most 8 here), and behind it three digits: the revision modulo 250, times 4, plus the rung.
--
-- It expires on a grid of 16 s times 64^rung, at the first line on or after the instant at which it is at rest. So only a
-- write that moves that instant over a line has to set the expiry. The rung is there because a rule of which nothing but
-- the burst is changed keeps its revision, while its grid may be another.
local BASE = 1767225600000000
local RADIX = 8
local CLOCK_TOLERANCE = 10000000
local LOG_HEAD, LOG_ENTRY = 17, 16
local LIMB = 1048576

local call, pcall_ = redis.call, redis.pcall
local floor, ceil = math.floor, math.ceil
local sub, byte, format = string.sub, string.byte, string.format
local pack, unpack_ = struct.pack, struct.unpack

local now, slack

-- Whether a bucket without a key of its own is the member of a hash. The layout says.
local is_member

local function read_time(given)
  if given > 0 then return given end
  local t = call('TIME')
  return t[1] * 1000000 + t[2]
end

-- The text under a key. Permits are none: they are not carried to another algorithm, and MGET does not tell them either.
local function get(key)
  local raw = pcall_('GET', key)
  return type(raw) == 'string' and raw
end

-- Milliseconds until an instant, and a little more: never a key without an expiry, never one too early.
local function life_until(at)
  local left = ceil((at - now) / 1000)
  if left < 0 then left = 0 end
  return format('%.0f', left + slack)
end

-- a·b as three limbs of 20 bits and more: exact for a < 2^32, b < 2^49.
local function product(a, b)
  local b0 = b % LIMB
  local rest = (b - b0) / LIMB
  local b1 = rest % LIMB
  local b2 = (rest - b1) / LIMB
  local low = a * b0
  local r0 = low % LIMB
  local middle = a * b1 + (low - r0) / LIMB
  local r1 = middle % LIMB
  return a * b2 + (middle - r1) / LIMB, r1, r0
end

local function product_at_most(a, b, c, d)
  local x2, x1, x0 = product(a, b)
  local y2, y1, y0 = product(c, d)
  if x2 ~= y2 then return x2 < y2 end
  if x1 ~= y1 then return x1 < y1 end
  return x0 <= y0
end

-- The numbers of a stored state, or nothing where the client has to look at it: written under another revision, in
-- another form, or under a clock that was wrong.
local function parse(raw, ask)
  local algorithm = ask[1]
  local a, b, c
  if ask[4] == 1 then
    local tail = tonumber(sub(raw, -3))
    local rest = tonumber(sub(raw, 1, -4))
    if not tail or not rest or floor(tail / 4) ~= ask[3] % 250 then return nil end
    b = rest % RADIX
    a = (rest - b) / RADIX + BASE
    c = tail % 4
  else
    local width = algorithm == 3 and 29 or 21
    if #raw ~= width or byte(raw, 1) ~= 64 + algorithm then return nil end
    local _, revision
    if algorithm == 3 then
      _, revision, a, b, c = unpack_('<BI4ddd', raw)
    else
      _, revision, a, b = unpack_('<BI4dd', raw)
    end
    if revision ~= ask[3] then return nil end
  end
  if algorithm == 1 then
    -- Written at another rate.
    if b >= ask[6] then return nil end
    local ahead = a - now
    local most = ask[11] + CLOCK_TOLERANCE
    if ahead > most or (ahead == most and b > ask[12]) then return nil end
  elseif a > now + CLOCK_TOLERANCE then
    return nil
  end
  return a, b, c
end

-- The text that keeps a state in the long form.
local function long_form(ask, a, b, c)
  if ask[1] == 3 then return pack('<BI4ddd', 67, ask[3], a, b, c) end
  return pack('<BI4dd', 64 + ask[1], ask[3], a, b)
end

-- When a state is at rest.
local function rest_at(ask, a, b, c)
  if ask[1] == 1 then return b > 0 and a + 1 or a end
  local window = ask[6]
  if ask[1] == 2 then return b > 0 and a + window or 0 end
  if b > 0 then return a + 2 * window end
  return c > 0 and a + window or 0
end

-- When a bucket in the short form may expire.
local function short_expiry(ask, a, b)
  if not ask.tail then
    ask.tail = format('%03d', (ask[3] % 250) * 4 + ask[15])
    ask.grid = 16000000 * 64 ^ ask[15]
  end
  return ceil(rest_at(ask, a, b) / ask.grid) * ask.grid
end

-- Whether a text that was there before lasts as long.
local function lasts(ask, raw, expiry)
  if not raw or sub(raw, -3) ~= ask.tail then return false end
  local rest = tonumber(sub(raw, 1, -4)) / RADIX + BASE
  return ceil(rest / ask.grid) * ask.grid >= expiry
end

local function short_form(ask, a, b)
  return format('%.0f', (a - BASE) * RADIX + b) .. ask.tail
end

-- Keeps a state in the long form under a key of its own, whatever was there.
local function store(key, ask, a, b, c)
  call('PSETEX', key, life_until(rest_at(ask, a, b, c)), long_form(ask, a, b, c))
end

-- The window that holds now: windows that are over move one place back or fall out.
local function current(ask, a, b, c)
  local window = ask[6]
  local start = now - now % window
  if a >= start then return a, b, c end
  if ask[1] == 3 and a + window == start then return start, 0, b end
  return start, 0, 0
end

-- Whether a state of algorithm 1 to 3 lets the ask pass; windows must be current.
local function passes(ask, a, b, c)
  local algorithm = ask[1]
  if algorithm == 1 then
    local tolerance = ask[9]
    if tolerance < 0 then return false end
    local debt = a - now
    return debt < tolerance or (debt == tolerance and b <= ask[10])
  end
  local room = ask[7]
  if room < b then return false end
  if algorithm == 2 then return true end
  local elapsed = now - a
  if elapsed < 0 then elapsed = 0 end
  return product_at_most(c, ask[6] - elapsed, room - b, ask[6])
end

-- A log is the text of its head - 'D', revision, index of the first entry that may still count, units before it - and
-- of its entries, oldest first: time, and all units up to and with this one.
local function log_entry(key, index)
  local at = LOG_HEAD + index * LOG_ENTRY
  local text = call('GETRANGE', key, at, at + LOG_ENTRY - 1)
  return unpack_('<dd', text)
end

-- The first index in [low, high) from which entries fulfil what is wanted; high where none does.
local function first_where(key, low, high, wanted)
  while low < high do
    local middle = floor((low + high) / 2)
    local at, total = log_entry(key, middle)
    if wanted(at, total) then high = middle else low = middle + 1 end
  end
  return low
end

-- A log as it counts now: index of the first live entry, units before it, number of entries, newest time and total.
-- Nothing where the client has to look at it; the text 'none' where there is no log.
local function open_log(key, ask)
  local length = pcall_('STRLEN', key)
  if type(length) ~= 'number' then return nil end
  if length == 0 then return not is_member(key) and 'none' or nil end
  if length < LOG_HEAD or (length - LOG_HEAD) % LOG_ENTRY ~= 0 then return nil end
  local head = call('GETRANGE', key, 0, LOG_HEAD - 1)
  local kind, revision, first, base = unpack_('<BI4I4d', head)
  if kind ~= 68 or revision ~= ask[3] then return nil end
  local count = (length - LOG_HEAD) / LOG_ENTRY
  if count == 0 then return 'none' end
  local newest, total = log_entry(key, count - 1)
  if newest > now + CLOCK_TOLERANCE then return nil end
  local oldest = now - ask[6]
  if newest <= oldest then return 'none' end
  local before = base
  local live = first
  -- Mostly none or a few have expired since the last call.
  for _ = 1, 4 do
    local at, upto = log_entry(key, live)
    if at > oldest then return { live, before, count, newest, total, first } end
    live, before = live + 1, upto
  end
  live = first_where(key, live, count, function(at) return at > oldest end)
  local _, upto = log_entry(key, live - 1)
  return { live, upto, count, newest, total, first }
end

-- When the unit that must go first for `units` to be free of the live ones counts no longer; 0 where that is no question.
local function log_time(key, log, units)
  local live, before, count, _, total = log[1], log[2], log[3], log[4], log[5]
  if units < 1 or units > total - before then return 0 end
  -- Where every entry is one unit, this is the one.
  local guess = live + units - 1
  if guess < count then
    local at, upto = log_entry(key, guess)
    if upto == before + units then return at end
  end
  local index = first_where(key, live, count, function(_, upto) return upto >= before + units end)
  local at = log_entry(key, index)
  return at
end

-- What the client needs of a log or of permits to answer for them: units used, newest time, and the times that free the
-- first unit, enough for one more, and enough for the cost.
local function digest(ask, used, newest, time_of, out)
  local more = used - ask[8] + 1
  if more < 1 then more = 1 end
  local wanted = used + ask[5] - ask[8]
  if wanted < 1 then wanted = 1 end
  local n = #out
  out[n + 1], out[n + 2], out[n + 3] = used, newest, time_of(1)
  out[n + 4], out[n + 5] = more, more == 1 and out[n + 3] or time_of(more)
  out[n + 6], out[n + 7] = wanted, wanted == 1 and out[n + 3] or (wanted == more and out[n + 5] or time_of(wanted))
end

local function log_digest(key, ask, log, out)
  if log == 'none' then return digest(ask, 0, 0, function() return 0 end, out) end
  digest(ask, log[5] - log[2], log[4], function(units) return log_time(key, log, units) end, out)
end

local function log_add(key, ask, log, units)
  if units == 0 then return end
  if log == 'none' then
    call('SET', key, pack('<BI4I4ddd', 68, ask[3], 0, 0, now, units))
  else
    local live, before, count, newest, total, first = log[1], log[2], log[3], log[4], log[5], log[6]
    if newest >= now then
      call('SETRANGE', key, LOG_HEAD + (count - 1) * LOG_ENTRY, pack('<dd', newest, total + units))
    else
      call('APPEND', key, pack('<dd', now, total + units))
    end
    if live > 16 and live * 2 > count then
      -- More than half of it is over: write it anew.
      local rest = call('GETRANGE', key, LOG_HEAD + live * LOG_ENTRY, -1)
      call('SET', key, pack('<BI4I4d', 68, ask[3], 0, before) .. rest)
    elseif live > first then
      call('SETRANGE', key, 5, pack('<I4d', live, before))
    end
  end
  call('PEXPIRE', key, life_until(now + ask[6]))
end

-- Permits are a sorted set: each place taken is a member - the permit's 8 bytes, and the number of the place where a
-- permit takes more than one - with its expiry as the score. The last member, behind all times, is 'r' and the revision.
local END_OF_TIME = '9007199254740992'

local function mark_of(ask)
  return pack('<c1I4', 'r', ask[3])
end

-- Permits as they count now: how many live, how many are over, and the last expiry. Nothing where the client has to look
-- at them.
local function open_permits(key, ask)
  local live = pcall_('ZCOUNT', key, '(' .. format('%.0f', now), END_OF_TIME)
  if type(live) ~= 'number' then return nil end
  if live == 0 then return not is_member(key) and { 0, 0, 0 } or nil end
  local tail = call('ZRANGE', key, -2, -1, 'WITHSCORES')
  if tail[3] ~= mark_of(ask) then return nil end
  local last = tonumber(tail[2])
  local fullest = now + ask[9]
  if last > fullest + CLOCK_TOLERANCE then
    -- Written under a clock that was wrong: nobody may be locked out by it for long.
    local most = format('%.0f', fullest)
    for _, member in ipairs(call('ZRANGEBYSCORE', key, '(' .. most, END_OF_TIME)) do call('ZADD', key, most, member) end
    last = fullest
  end
  return { live, call('ZCARD', key) - 1 - live, last }
end

local function permits_digest(key, ask, permits, out)
  digest(ask, permits[1], permits[3], function(units)
    if units < 1 or units > permits[1] then return 0 end
    local index = permits[2] + units - 1
    return tonumber(call('ZRANGE', key, index, index, 'WITHSCORES')[2])
  end, out)
end

local function permits_add(key, ask, permits, id)
  local units = ask[5]
  if units == 0 then return end
  if permits[1] == 0 then
    call('DEL', key)
    call('ZADD', key, '+inf', mark_of(ask))
  elseif permits[2] > 0 then
    call('ZREMRANGEBYSCORE', key, '-inf', format('%.0f', now))
  end
  local expires = now + ask[6]
  local score = format('%.0f', expires)
  if units == 1 then
    call('ZADD', key, score, id)
  else
    for place = 0, units - 1 do call('ZADD', key, score, id .. pack('>I2', place)) end
  end
  call('PEXPIRE', key, life_until(expires > permits[3] and expires or permits[3]))
end
