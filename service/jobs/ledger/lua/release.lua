-- Undo what was reserved for a job that never came to be. ARGV: request id, job.
local key, job = P .. 'request:' .. ARGV[1], ARGV[2]
if redis.call('EXISTS', job_key(job)) == 1 then return answer({released = false}) end
local text = redis.call('GET', key)
if text and cjson.decode(text).job == job then redis.call('DEL', key) end
release(job)
return answer({released = true})
