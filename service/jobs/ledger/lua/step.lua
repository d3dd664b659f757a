-- Note what is being done to end a job. ARGV: job, round, {name, done, total}.
local job = ARGV[1]
local state = state_of(job)
if num(job, 'round') ~= tonumber(ARGV[2]) then return answer({why = 'fenced'}) end
if state ~= 'FINALIZING' and state ~= 'CANCELLING' then return answer({why = state or 'unknown'}) end
redis.call('HSET', job_key(job), 'step', ARGV[3])
touch(job)
return answer({ok = true})
