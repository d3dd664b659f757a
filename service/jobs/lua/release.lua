-- Untie a request id whose job never came to be. ARGV: request id, job id.
local key = P .. 'request:' .. ARGV[1]
local text = redis.call('GET', key)
if text and cjson.decode(text).job == ARGV[2] and redis.call('EXISTS', job_key(ARGV[2])) == 0 then
  redis.call('DEL', key)
  return answer({released = true})
end
return answer({released = false})
