-- Begin to delete a finished job, which can then only be deleted. The dispatcher resumes an interrupted deletion later.
-- ARGV: job, how much later.
local state = state_of(ARGV[1])
if not state then return answer({why = 'unknown'}) end
if is_newer(ARGV[1]) then return answer({why = 'newer'}) end
if state ~= 'DELETING' and not has_ended(state) then return answer({why = state}) end
set_state(ARGV[1], 'DELETING')
redis.call('ZADD', P .. 'expiring', now() + tonumber(ARGV[2]), ARGV[1])
return answer({ok = true})
