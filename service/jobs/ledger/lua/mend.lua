-- Let a complete job run again, for the shards that `remake` made ready. ARGV: job, round.
local job = ARGV[1]
if state_of(job) ~= 'FINALIZING' or num(job, 'round') ~= tonumber(ARGV[2]) then return answer({why = 'fenced'}) end
redis.call('HINCRBY', job_key(job), 'mends', 1)
redis.call('ZREM', P .. 'ending', job)
local cancelled = redis.call('HEXISTS', job_key(job), 'cancel') == 1
reopen(job)
if cancelled then stop(job) end
return answer({ok = true})
