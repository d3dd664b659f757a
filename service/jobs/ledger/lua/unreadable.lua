-- Jobs whose plan cannot be read. ARGV: note, forget or list; prefix; to note: job and reason.
local key, prefix, job = P .. 'unreadable', ARGV[2], ARGV[3]
if ARGV[1] == 'list' then return answer({prefixes = redis.call('HKEYS', key)}) end

if ARGV[1] == 'forget' then
  job = redis.call('HGET', key, prefix)
  redis.call('HDEL', key, prefix)
  if job and state_of(job) == 'UNREADABLE' then
    redis.call('UNLINK', job_key(job))
    redis.call('ZREM', P .. 'jobs', job)
  end
  return answer({ok = true})
end

local state = state_of(job)
if state and state ~= 'UNREADABLE' then return answer({noted = false}) end
redis.call('HSET', key, prefix, job)
if state and redis.call('HGET', job_key(job), 'error') == ARGV[4] then return answer({noted = false}) end
redis.call('HSET', job_key(job), 'state', 'UNREADABLE', 'prefix', prefix, 'error', ARGV[4])
redis.call('ZADD', P .. 'jobs', 0, job)
touch(job)
return answer({noted = true})
