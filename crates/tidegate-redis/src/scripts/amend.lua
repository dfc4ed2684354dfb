-- Puts other texts in the place of the ones a client has looked at, if they are still those.
--
-- KEYS     of each place where a bucket is or is to be: its key, or that of its hash
-- ARGV     deadline µs or 0, now µs or 0 to read the clock, slack ms; then of each place: the member of the hash or '',
--          the text it must hold ('' for none, 'z' and its mark for permits), the text it is to hold ('' for none, 'z'
--          and another mark for the same permits), and its life in ms, slack included
--
-- Returns { now, 1 } where it was done, { now, 0 } where a bucket has changed, { now, 'late' } where the deadline is over.

now = read_time(tonumber(ARGV[2]))
slack = tonumber(ARGV[3])
local deadline = tonumber(ARGV[1])
if deadline > 0 and now > deadline then return { now, 'late' } end

for i = 1, #KEYS do
  local member, found = ARGV[4 * i]
  if member ~= '' then
    found = call('HGET', KEYS[i], member)
  else
    found = pcall_('GET', KEYS[i])
    if type(found) == 'table' then found = 'z' .. (call('ZRANGE', KEYS[i], -1, -1)[1] or '') end
  end
  if (found or '') ~= ARGV[4 * i + 1] then return { now, 0 } end
end
for i = 1, #KEYS do
  local member, was, text, life = ARGV[4 * i], ARGV[4 * i + 1], ARGV[4 * i + 2], ARGV[4 * i + 3]
  if member ~= '' then
    if text == '' then
      call('HDEL', KEYS[i], member)
    else
      call('HSET', KEYS[i], member, text)
      last_until(KEYS[i], now + (life - slack) * 1000)
    end
  elseif text == '' then
    call('DEL', KEYS[i])
  elseif sub(text, 1, 1) == 'z' then
    call('ZREM', KEYS[i], sub(was, 2))
    call('ZADD', KEYS[i], '+inf', sub(text, 2))
  else
    call('PSETEX', KEYS[i], life, text)
  end
end
return { now, 1 }
