-- Index a job that has ended, from its manifest. ARGV: job, plan, shards, created, request id, digest, priority,
-- client, then pairs of
-- field and value.
local job = ARGV[1]
if redis.call('EXISTS', job_key(job)) == 1 then return answer({created = false}) end
redis.call('HSET', job_key(job), 'plan', ARGV[2], 'shards', ARGV[3], 'created', ARGV[4], 'rev', 1, 'priority', ARGV[7],
  'client', ARGV[8], unpack(ARGV, 9))
redis.call('ZADD', P .. 'jobs', 0, job)
if ARGV[5] ~= '' then
  redis.call('SET', P .. 'request:' .. ARGV[5], cjson.encode({digest = ARGV[6], job = job}), 'NX')
end
return answer({created = true})
