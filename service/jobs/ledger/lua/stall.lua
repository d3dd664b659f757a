-- Note why the end of a job cannot be written, and tell for how long that has been so. ARGV: job, reason.
local job, at = ARGV[1], now()
local state = state_of(job)
if not state or has_ended(state) then return answer({stalled_ms = 0}) end
redis.call('HSETNX', job_key(job), 'stalled', at)
note_wait(job, ARGV[2])
if state == 'FINALIZING' and redis.call('HEXISTS', job_key(job), 'cancel') == 1 then set_state(job, 'CANCELLING') end
return answer({stalled_ms = at - num(job, 'stalled')})
