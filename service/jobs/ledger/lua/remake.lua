-- Have shards that were done made again, or count them as failed: their files are damaged or missing. The job stays as it
-- is until `mend` or `retry` lets it run. ARGV: job, its state, its round, why they count as failed ('' for made again),
-- then pairs of shard and images.
local job, why = ARGV[1], ARGV[4]
if state_of(job) ~= ARGV[2] or num(job, 'round') ~= tonumber(ARGV[3]) then return answer({why = 'fenced'}) end
for i = 5, #ARGV, 2 do
  local shard, rec = ARGV[i], load_shard(job, ARGV[i])
  if rec.s == 'D' then
    rec.s, rec.x, rec.d, rec.f = 'R', rec.d, nil, 0
    redis.call('HINCRBY', job_key(job), 'done', -1)
    redis.call('HINCRBY', job_key(job), 'committed', 0 - ARGV[i + 1])
    if why ~= '' then
      rec.s, rec.e = 'F', why
      redis.call('HINCRBY', job_key(job), 'failed', 1)
    end
    save_shard(job, shard, rec)
  end
  if rec.s == 'R' then redis.call('ZADD', ready_key(job), 0, shard) end
end
return answer({ok = true})
