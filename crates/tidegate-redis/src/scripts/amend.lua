-- Puts other texts in the place of the ones a client has looked at, if they are still those.
--
-- KEYS     the buckets
-- ARGV     deadline µs or 0, now µs or 0 to read the clock; then of each bucket: the text it must hold ('' for none,
--          'z' and its mark for permits), the text it is to hold ('' for none, 'z' and another mark for the same
--          permits), and its life in ms
--
-- Returns { now, 1 } where it was done, { now, 0 } where a bucket has changed, { now, 'late' } where the deadline is over.

now = read_time(tonumber(ARGV[2]))
local deadline = tonumber(ARGV[1])
if deadline > 0 and now > deadline then return { now, 'late' } end

for i = 1, #KEYS do
  local found = pcall_('GET', KEYS[i])
  if type(found) == 'table' then found = 'z' .. (call('ZRANGE', KEYS[i], -1, -1)[1] or '') end
  if (found or '') ~= ARGV[3 * i] then return { now, 0 } end
end
for i = 1, #KEYS do
  local text = ARGV[3 * i + 1]
  if text == '' then
    call('DEL', KEYS[i])
  elseif sub(text, 1, 1) == 'z' then
    call('ZREM', KEYS[i], sub(ARGV[3 * i], 2))
    call('ZADD', KEYS[i], '+inf', sub(text, 2))
  else
    call('PSETEX', KEYS[i], ARGV[3 * i + 2], text)
  end
end
return { now, 1 }
