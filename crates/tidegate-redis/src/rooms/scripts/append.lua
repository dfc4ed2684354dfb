-- Appends entries, holds the room, and tells all nodes.
--
-- KEYS  the room's head, its lease, its entries
-- ARGV  the server's run id (or ?), the term, the entry to append after, the lease (ms), the channel of all nodes, what to tell
--       (nothing where it is empty), the entries
--
-- Returns 'k' (kept), 'd' (not the present term), or 'b <last>' where the log ends before.
--
-- A script, because the term, the place and the entries must be one step. Of entries that are there already, since this was sent
-- before, nothing is done again; nor are they told again.

local head = redis.call('HMGET', KEYS[1], 't', 'k', 's', 'r')
if head[1] ~= ARGV[2] or not head[3] then return 'd' end
local last = tonumber(head[3]) + redis.call('LLEN', KEYS[3])
local after, count = tonumber(ARGV[3]), #ARGV - 6
if after > last then return 'b ' .. string.format('%.0f', last) end
local first = 7 + last - after
-- Lua hands over some thousands of values at once and no more.
for from = first, #ARGV, 256 do
  redis.call('RPUSH', KEYS[3], unpack(ARGV, from, math.min(from + 255, #ARGV)))
end
local is_new = first <= #ARGV
if is_new and head[4] ~= ARGV[1] then redis.call('HSET', KEYS[1], 'r', ARGV[1]) end
redis.call('SET', KEYS[2], head[2], 'PX', ARGV[4])
if ARGV[6] ~= '' and (is_new or count == 0) then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
return 'k'
