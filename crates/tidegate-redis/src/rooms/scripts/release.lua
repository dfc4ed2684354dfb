-- Gives up a room.
--
-- KEYS  the room's head, its lease
-- ARGV  the server's run id (unused), the term
--
-- Returns 'k'. A script, because the lease may be another's by now.

local head = redis.call('HMGET', KEYS[1], 't', 's')
if head[1] == ARGV[2] and head[2] then redis.call('DEL', KEYS[2]) end
return 'k'
