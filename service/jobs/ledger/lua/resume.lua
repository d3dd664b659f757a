-- Let a paused job go on. ARGV: job.
local job = ARGV[1]
local state = state_of(job)
if not state then return answer({why = 'unknown'}) end
if is_newer(job) then return answer({why = 'newer'}) end
if goes_on(state) then return answer({ok = true}) end
if state ~= 'PAUSED' then return answer({why = state}) end
reopen(job)
return answer({ok = true})
