-- Index a job whose plan is on disk; one that is known stays as it is, unless as unreadable. ARGV: job, request id, digest of
-- the request's parameters, then pairs of field and value; the field `state` tells whether there is something to do.
local job = ARGV[1]
local known = state_of(job)
if known and known ~= 'UNREADABLE' then return answer({created = false}) end
if known then redis.call('UNLINK', job_key(job)) end
redis.call('HSET', job_key(job), 'rev', 1, unpack(ARGV, 4))
redis.call('ZADD', P .. 'jobs', 0, job)
if ARGV[2] ~= '' then
  redis.call('SET', P .. 'request:' .. ARGV[2], cjson.encode({digest = ARGV[3], job = job}), 'NX')
end
add_bytes(redis.call('HGET', job_key(job), 'client'), num(job, 'bytes'))
release(job) -- the plan on disk may be that of an earlier try, with another model
if not has_ended(state_of(job)) then hold_again(job) end
if has_ended(state_of(job)) then
  redis.call('HSET', job_key(job), 'ended', math.min(num(job, 'ended'), now())) -- a file's time may be anything
  expire_later(job)
elseif state_of(job) == 'CANCELLING' or state_of(job) == 'FINALIZING' then
  redis.call('ZADD', P .. 'ending', 0, job)
  wake()
elseif goes_on(state_of(job)) then
  open_job(job)
  wake()
end
return answer({created = true})
