-- Gives a permit back.
--
-- KEYS[1]  the bucket
-- ARGV     deadline µs or 0, now µs or 0 to read the clock, the permit (8 bytes)
--
-- Returns { now, 1 } where it was held, { now, 0 } where not, { now, 'late' } where the deadline is over.

now = read_time(tonumber(ARGV[2]))
local deadline = tonumber(ARGV[1])
if deadline > 0 and now > deadline then return { now, 'late' } end
local key, permit = KEYS[1], ARGV[3]

local function remove(member)
  local expires = pcall_('ZSCORE', key, member)
  if type(expires) ~= 'string' then return nil end
  call('ZREM', key, member)
  return tonumber(expires) > now
end

local held = remove(permit)
if held == nil then
  local place = 0
  local part = remove(permit .. pack('>I2', place))
  while part ~= nil do
    held = held or part
    place = place + 1
    part = remove(permit .. pack('>I2', place))
  end
end
return { now, held and 1 or 0 }
