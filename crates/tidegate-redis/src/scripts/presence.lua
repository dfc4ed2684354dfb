-- Says that a node is there, and counts those that are.
--
-- KEYS[1]  a sorted set: nodes, by when they were last heard of
-- ARGV     the node, how long it counts without being heard of (ms)
--
-- Returns how many nodes there are.

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local life = tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - life))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life))
return redis.call('ZCARD', KEYS[1])
