-- Puts buckets to rest, wherever they are.
--
-- KEYS     of each place where a bucket can be: its key, or that of its hash
-- ARGV     of each place: the member of the hash or ''

for i, member in ipairs(ARGV) do
  if member == '' then redis.call('DEL', KEYS[i]) else redis.call('HDEL', KEYS[i], member) end
end
return #ARGV
