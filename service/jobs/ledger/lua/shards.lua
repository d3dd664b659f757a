-- Show shards. ARGV: job, first, number.
local job = ARGV[1]
if redis.call('EXISTS', job_key(job)) == 0 then return answer({why = 'unknown'}) end
local records = {}
local last = math.min(ARGV[2] + ARGV[3], num(job, 'shards')) - 1
for shard = tonumber(ARGV[2]), last do table.insert(records, load_shard(job, shard)) end
return answer({records = records})
