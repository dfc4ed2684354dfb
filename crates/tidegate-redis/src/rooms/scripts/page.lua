-- Reads entries, about as many as fit into a reply of moderate length.
--
-- KEYS  the room's head, its entries
-- ARGV  the server's run id (unused), the first entry to read, bytes and entries after which to stop
--
-- Returns { 'term s n first last g', entries … } (see take.lua), where first is the first entry in it or, if that is later, the
-- first that is there at all; nothing where there is no room.
--
-- A script, because the numbers of entries follow from the head. 16 entries are at most 8 MiB.

local function text(number) return string.format('%.0f', number) end

local head = redis.call('HMGET', KEYS[1], 't', 's', 'n', 'g')
if not head[2] then return {} end
local base, count = tonumber(head[2]), redis.call('LLEN', KEYS[2])
local first = math.max(tonumber(ARGV[2]), base + 1)
local out = { table.concat({ head[1], head[2], head[3], text(first), text(base + count), head[4] }, ' ') }
local at, bytes, most = first - base - 1, 0, tonumber(ARGV[3])
while at < count and bytes < most and #out <= tonumber(ARGV[4]) do
  local part = redis.call('LRANGE', KEYS[2], text(at), text(at + 15))
  for _, entry in ipairs(part) do
    out[#out + 1] = entry
    bytes = bytes + #entry
  end
  at = at + #part
end
return out
