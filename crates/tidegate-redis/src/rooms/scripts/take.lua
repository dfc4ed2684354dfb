-- Makes a node the keeper of a room that has none.
--
-- KEYS  the room's head, its lease, its entries
-- ARGV  the server's run id (or ?), the node, the lease (ms), 1 to make the room where it is not there
--
-- The head is a hash: t the term, k the keeper, s the last entry that the snapshot stands for, g the snapshot's name, n its
-- pieces, r the server's run id at the last append. Of a room that was removed only t is left.
--
-- Returns 'y <term> <last> <1 where the run is that of the last append> <term before>', 'k <term> <keeper>', or 'n <1 where a room was
-- removed>' where there is no room.
--
-- A script, because who finds the lease free must be the one who takes it. Where the server may have lost terms, the next one is at
-- least the clock's milliseconds: so no two keepers ever have the same.

local function text(number) return string.format('%.0f', number) end

local head = redis.call('HMGET', KEYS[1], 't', 'k', 's', 'r')
local term, is_there = tonumber(head[1] or '0'), head[3]
if is_there then
  local keeper = redis.call('GET', KEYS[2])
  if keeper and keeper ~= ARGV[2] then return 'k ' .. text(term) .. ' ' .. keeper end
elseif ARGV[4] ~= '1' then
  return head[1] and 'n 1' or 'n 0'
end
local former = is_there and term or 0
local is_same = is_there and head[4] == ARGV[1] and ARGV[1] ~= '?'
term = term + 1
if not is_same then
  local clock = redis.call('TIME')
  term = math.max(term, clock[1] * 1000 + math.floor(clock[2] / 1000))
end
if is_there then
  redis.call('HSET', KEYS[1], 't', text(term), 'k', ARGV[2])
else
  redis.call('HSET', KEYS[1], 't', text(term), 'k', ARGV[2], 's', '0', 'g', '', 'n', '0', 'r', ARGV[1])
  redis.call('PERSIST', KEYS[1])
  redis.call('DEL', KEYS[3])
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local last = tonumber(head[3] or '0') + redis.call('LLEN', KEYS[3])
local has_all = (is_same or not is_there) and '1' or '0'
return table.concat({ 'y', text(term), text(last), has_all, text(former) }, ' ')
