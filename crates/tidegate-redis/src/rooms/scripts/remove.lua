-- Removes a room, but for its term.
--
-- KEYS  the room's head, its lease, its entries, and what the keys of pieces begin with
-- ARGV  the server's run id (unused), the term, for how long the term is kept (ms)
--
-- Returns 'k' (removed, perhaps when this was sent before) or 'd' (not the present term). A script for the same reason as take.lua.

local head = redis.call('HMGET', KEYS[1], 't', 's', 'g')
if head[1] ~= ARGV[2] then return 'd' end
if not head[2] then return 'k' end
redis.call('DEL', KEYS[2])
redis.call('UNLINK', KEYS[3])
if head[3] ~= '' then redis.call('UNLINK', KEYS[4] .. head[3]) end
redis.call('HDEL', KEYS[1], 'k', 's', 'g', 'n', 'r')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'k'
