-- Ask a job to stop. One that is about to end does so as it was going to, unless its end cannot be written. ARGV: job.
local job = ARGV[1]
local state = state_of(job)
if not state then return answer({why = 'unknown'}) end
if is_newer(job) then return answer({why = 'newer'}) end
if state == 'FINALIZING' then redis.call('HSET', job_key(job), 'cancel', 1) end
local stalled = state == 'FINALIZING' and redis.call('HEXISTS', job_key(job), 'stalled') == 1
if goes_on(state) or state == 'PAUSED' or stalled then stop(job) end
return answer({ok = true})
