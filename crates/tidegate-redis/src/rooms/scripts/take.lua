-- Makes a node the keeper of a room that has none.
--
-- KEYS  the room's head, its lease, its entries
-- ARGV  the server's run id (or ?), the node, the lease (ms), 1 to make the room where it is not there
--
-- The head is a hash: t the term, k the keeper, s the last entry that the snapshot stands for, g the snapshot's name, n its
-- pieces, r the server's run id at the last append. Of a room that was removed only t is left.
--
-- Returns 'y <term> <last> <1 where the run is that of the last append>', 'k <term> <keeper>', or 'n' where there is no room.
--
-- A script, because who finds the lease free must be the one who takes it. Terms are at least the clock's milliseconds, so that they
-- go on even where the server has lost all there was.

local function text(number) return string.format('%.0f', number) end

local head = redis.call('HMGET', KEYS[1], 't', 'k', 's', 'r')
local term, is_there = tonumber(head[1] or '0'), head[3]
if is_there then
  local keeper = redis.call('GET', KEYS[2])
  if keeper and keeper ~= ARGV[2] then return 'k ' .. text(term) .. ' ' .. keeper end
elseif ARGV[4] ~= '1' then
  return 'n'
end
local clock = redis.call('TIME')
term = math.max(term + 1, clock[1] * 1000 + math.floor(clock[2] / 1000))
local same = '1'
if is_there then
  redis.call('HSET', KEYS[1], 't', text(term), 'k', ARGV[2])
  if head[4] ~= ARGV[1] or ARGV[1] == '?' then same = '0' end
else
  redis.call('HSET', KEYS[1], 't', text(term), 'k', ARGV[2], 's', '0', 'g', '', 'n', '0', 'r', ARGV[1])
  redis.call('PERSIST', KEYS[1])
  redis.call('DEL', KEYS[3])
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local last = tonumber(head[3] or '0') + redis.call('LLEN', KEYS[3])
return 'y ' .. text(term) .. ' ' .. text(last) .. ' ' .. same
