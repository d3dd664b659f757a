-- Begin to delete a job that has ended: nobody can do anything with it any more. ARGV: job.
local state = state_of(ARGV[1])
if not state then return answer({why = 'unknown'}) end
local ended = state == 'SUCCEEDED' or state == 'PARTIALLY_SUCCEEDED' or state == 'FAILED' or state == 'CANCELLED'
if state ~= 'DELETING' and not ended then return answer({why = state}) end
if ended then set_state(ARGV[1], 'DELETING') end
return answer({ok = true})
