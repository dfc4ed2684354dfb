-- Decides the commonest plans: one enforced token or leaky bucket each, kept in the short form (see buckets.lua), all
-- asking the same. It says what decide.lua would; it is written for speed, in one pass and without functions, because a
-- fleet's Redis does little else.
--
-- KEYS     the buckets, each once
-- ARGV[1]  nine numbers (8-byte floats, little endian): deadline µs or 0, now µs or 0 to read the clock, slack ms,
--          revision modulo 250 times 4 plus the rung, L, and as parts of a microsecond (1/L): the step, the largest
--          debt that passes (-1 for none), the largest debt without a clock error; the grid of expiry µs
-- ARGV[2]  the step as text for INCRBY
-- ARGV[3]  the same where its fraction runs over
-- ARGV[4]  packed (MessagePack), where more than one asks of a bucket: how many do of each
--
-- Returns { now, then of each key: how many calls were granted, and its state before the first (TAT µs, fraction) };
-- -1 alone where the client has to look at a bucket first and nothing was done with it; { now, 'late' } where the
-- deadline is over.

local call, sub, byte, format = redis.call, string.sub, string.byte, string.format
local deadline, now, slack, own_tail, parts, step, tolerance, most, grid =
  struct.unpack('<ddddddddd', ARGV[1])
if now == 0 then
  local t = call('TIME')
  now = t[1] * 1000000 + t[2]
end
if deadline > 0 and now > deadline then return { now, 'late' } end

local BASE, RADIX = 1767225600000000, 8
local count = #KEYS
local raws
if count > 1 then
  raws = call('MGET', unpack(KEYS))
else
  -- Permits are no text, and are not carried to another algorithm; MGET passes over them by itself.
  local raw = redis.pcall('GET', KEYS[1])
  raws = { type(raw) == 'string' and raw }
end
local riders = ARGV[4] and cmsgpack.unpack(ARGV[4])
local since_base = now - BASE
local last, last_text, last_line, life
local out, top = { now }, 1

for key = 1, count do
  local calls = riders and riders[key] or 1
  local raw = raws[key]
  local tail, rest, readable = -1, 0, true
  if raw then
    local x, y, z = byte(raw, -3, -1)
    rest = tonumber(sub(raw, 1, -4))
    readable = rest ~= nil
    if readable then
      -- Three digits: 5328 is '000'.
      tail = x * 100 + y * 10 + z - 5328
      -- Of this revision; the rung, its last two bits, may be another.
      readable = tail - tail % 4 == own_tail - own_tail % 4
    else
      rest = 0
    end
  end
  local fraction = rest % RADIX
  local micros = (rest - fraction) / RADIX
  local ahead = micros - since_base
  local debt = ahead >= 0 and ahead * parts + fraction or 0
  if not readable or fraction >= parts or debt > most then
    top = top + 1
    out[top] = -1
  else
    local granted = 0
    if debt <= tolerance then
      granted = calls
      if calls > 1 and step > 0 then
        local left = tolerance - debt
        local fit = (left - left % step) / step + 1
        if fit < calls then granted = fit end
      end
    end
    out[top + 1], out[top + 2], out[top + 3] = granted, micros + BASE, fraction
    top = top + 3
    if granted > 0 and step > 0 then
      debt = debt + granted * step
      local part = debt % parts
      local after = (since_base + (debt - part) / parts) * RADIX + part
      local before_rest = micros + BASE + (fraction > 0 and 1 or 0)
      local rest_at = now + (debt - part) / parts + (part > 0 and 1 or 0)
      local line = rest_at + (grid - rest_at % grid) % grid
      if tail == own_tail and before_rest + (grid - before_rest % grid) % grid >= line then
        -- It expires late enough as it is.
        local by
        if granted == 1 and ahead >= 0 then
          by = ARGV[part >= fraction and 2 or 3]
        else
          by = (after - rest) * 1000
          if by >= 9007199254740992 then by = format('%.0f000', after - rest) end
        end
        call('INCRBY', KEYS[key], by)
      else
        if after ~= last then
          last, last_text = after, format('%.0f%03d', after, own_tail)
        end
        if line ~= last_line then
          last_line, life = line, math.ceil((line - now) / 1000) + slack
        end
        call('PSETEX', KEYS[key], life, last_text)
      end
    end
  end
end

return out
