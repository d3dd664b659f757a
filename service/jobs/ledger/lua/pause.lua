-- Hand out no more shards of a job. ARGV: job.
local job = ARGV[1]
local state = state_of(job)
if not state then return answer({why = 'unknown'}) end
if is_newer(job) then return answer({why = 'newer'}) end
if state == 'PAUSED' then return answer({ok = true}) end
if not goes_on(state) then return answer({why = state}) end
set_state(job, 'PAUSED')
dequeue_job(job)
forget_hints(job)
return answer({ok = true})
