-- Ask a job to stop. ARGV: job.
local job = ARGV[1]
local state = state_of(job)
if not state then return answer({why = 'unknown'}) end
if goes_on(state) or state == 'PAUSED' then
  set_state(job, 'CANCELLING')
  dequeue_job(job)
  redis.call('ZADD', P .. 'ending', 0, job)
  redis.call('UNLINK', ready_key(job))
  wake()
end
return answer({ok = true})
