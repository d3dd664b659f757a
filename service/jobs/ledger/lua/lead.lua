-- Become or stay the dispatcher that leads. ARGV: name, lease (0: give it up).
local key = P .. 'leader'
local leader = redis.call('GET', key)
if leader and leader ~= ARGV[1] then return answer({leads = false}) end
if tonumber(ARGV[2]) == 0 then
  redis.call('DEL', key)
  return answer({leads = false})
end
redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
return answer({leads = true})
