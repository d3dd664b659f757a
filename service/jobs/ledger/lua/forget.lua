-- Forget a job whose files are gone. ARGV: job, request id.
local job = ARGV[1]
if state_of(job) ~= 'DELETING' then return answer({forgotten = false}) end
local key = P .. 'request:' .. ARGV[2]
local text = redis.call('GET', key)
if text and cjson.decode(text).job == job then redis.call('DEL', key) end
local client = redis.call('HGET', job_key(job), 'client')
add_bytes(client, 0 - num(job, 'bytes'))
forget_if_idle(client)
redis.call('UNLINK', job_key(job), shards_key(job), ready_key(job))
redis.call('ZREM', P .. 'jobs', job)
redis.call('ZREM', P .. 'expiring', job)
redis.call('SREM', P .. 'unrecorded', job)
return answer({forgotten = true})
