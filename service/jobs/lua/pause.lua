-- Hand out no more shards of a job. The hints on their way are forgotten: what they name is ready again. ARGV: job.
local job = ARGV[1]
local state = state_of(job)
if not state then return answer({why = 'unknown'}) end
if state == 'PAUSED' then return answer({ok = true}) end
if not goes_on(state) then return answer({why = state}) end
set_state(job, 'PAUSED')
redis.call('ZREM', P .. 'open', job)
local at, first = now(), num(job, 'next')
for _, name in ipairs(redis.call('ZRANGE', P .. 'hints', 0, -1)) do
  local hinted, shard = name:match('^(%S+) (%d+)$')
  if hinted == job then
    redis.call('ZREM', P .. 'hints', name)
    if redis.call('HEXISTS', shards_key(job), shard) == 0 then
      first = math.min(first, tonumber(shard))
    elseif load_shard(job, shard).s == 'R' then
      redis.call('ZADD', ready_key(job), at, shard)
    end
  end
end
redis.call('HSET', job_key(job), 'next', first)
return answer({ok = true})
