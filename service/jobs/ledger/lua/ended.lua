-- Have a job finished whose manifest is there: that it ended was lost with Redis's last writes. ARGV: job, round.
local job = ARGV[1]
local state = state_of(job)
if is_newer(job) or not (goes_on(state) or state == 'PAUSED') or num(job, 'round') > tonumber(ARGV[2]) then
  return answer({ok = false})
end
redis.call('HSET', job_key(job), 'round', ARGV[2])
forget_hints(job)
set_state(job, 'FINALIZING')
dequeue_job(job)
redis.call('ZADD', P .. 'ending', 0, job)
redis.call('UNLINK', ready_key(job))
wake()
return answer({ok = true})
