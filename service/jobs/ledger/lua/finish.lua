-- Bring a job to its terminal state, from the state it must be in. ARGV: job, from, to, error, root digest, result, round.
local job = ARGV[1]
local same = state_of(job) == ARGV[2] and num(job, 'round') == tonumber(ARGV[7])
if not same or num(job, 'running') > 0 then return answer({why = 'fenced'}) end
redis.call('HSET', job_key(job), 'ended', now(), 'error', ARGV[4], 'root', ARGV[5], 'result', ARGV[6])
end_wait(job)
set_state(job, ARGV[3])
expire_later(job)
release(job)
redis.call('ZREM', P .. 'ending', job)
dequeue_job(job)
redis.call('UNLINK', ready_key(job))
return answer({ok = true})
