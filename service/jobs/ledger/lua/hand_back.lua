-- Give a lease back: this attempt counts as no failure. ARGV: job, shard, attempt.
local job, shard = ARGV[1], ARGV[2]
local rec = held(job, shard, ARGV[3])
if not rec then return answer({why = 'fenced'}) end
end_lease(job, shard, rec)
give_back(job, shard, rec, 0)
return answer({ok = true})
