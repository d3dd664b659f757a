-- A worker's heartbeat. ARGV: name, slots (0: it leaves).
local mine = ARGV[2] .. ' ' .. ARGV[1]
for _, name in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
  if name ~= mine and name:match('^%d+ (.*)$') == ARGV[1] then redis.call('ZREM', P .. 'workers', name) end
end
if ARGV[2] ~= '0' and redis.call('ZADD', P .. 'workers', now(), mine) == 1 then wake() end
return answer({ok = true})
