-- End an attempt that failed. ARGV: job, shard, attempt, error, most attempts, pause.
local rec = held(ARGV[1], ARGV[2], ARGV[3])
if not rec then return answer({why = 'fenced'}) end
return answer({again = end_failed(ARGV[1], ARGV[2], rec, ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]))})
