-- Puts a piece of a snapshot that does not count yet.
--
-- KEYS  the room's head, the pieces
-- ARGV  the server's run id (unused), the term, how many pieces are there, for how long they stay (ms), the piece
--
-- Returns 'k' (put, perhaps when this was sent before), 'd' (not the present term), or 'x' (others are there than should be).
--
-- A script, because sent twice it must put them once.

local head = redis.call('HMGET', KEYS[1], 't', 's')
if head[1] ~= ARGV[2] or not head[2] then return 'd' end
local there, before = redis.call('LLEN', KEYS[2]), tonumber(ARGV[3])
if there == before + 1 then return 'k' end
if there ~= before then return 'x' end
redis.call('RPUSH', KEYS[2], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 'k'
