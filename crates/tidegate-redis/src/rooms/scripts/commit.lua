-- Makes pieces that were put the room's snapshot, and forgets the one before and the entries that it stands for.
--
-- KEYS  the room's head, its entries, the pieces, and what the keys of pieces begin with
-- ARGV  the server's run id (or ?), the term, the last entry that it stands for, its name, how many pieces it has
--
-- Returns 'k' (done, or there is a newer one), 'd' (not the present term), or 'x' (pieces are missing).
--
-- A script, because readers must find a snapshot and the entries after it, whenever they look.

local head = redis.call('HMGET', KEYS[1], 't', 's', 'g')
if head[1] ~= ARGV[2] or not head[2] then
  redis.call('UNLINK', KEYS[3])
  return 'd'
end
if head[3] == ARGV[4] then return 'k' end
local drop = tonumber(ARGV[3]) - tonumber(head[2])
if drop < 0 then
  redis.call('UNLINK', KEYS[3])
  return 'k'
end
if redis.call('LLEN', KEYS[3]) ~= tonumber(ARGV[5]) then return 'x' end
redis.call('HSET', KEYS[1], 's', ARGV[3], 'g', ARGV[4], 'n', ARGV[5], 'r', ARGV[1])
redis.call('PERSIST', KEYS[3])
if drop >= redis.call('LLEN', KEYS[2]) then
  redis.call('UNLINK', KEYS[2])
elseif drop > 0 then
  redis.call('LTRIM', KEYS[2], string.format('%.0f', drop), '-1')
end
if head[3] ~= '' then redis.call('UNLINK', KEYS[4] .. head[3]) end
return 'k'
