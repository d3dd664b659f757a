-- Finish a shard whose file and marker are in place. A second commit of the same bytes succeeds.
-- ARGV: job, shard, attempt, digest, images, bytes.
local job, shard, at = ARGV[1], ARGV[2], now()
local rec = load_shard(job, shard)
if rec.s == 'D' and rec.d == ARGV[4] then return answer({ok = true}) end
local state = state_of(job)
local running = state == 'RUNNING' or state == 'PAUSED' or state == 'CANCELLING'
local given_up = state == 'FINALIZING' and rec.s == 'L' -- there were too many failures, but this one is done
local mine = rec.a == tonumber(ARGV[3]) and (rec.s == 'L' or rec.s == 'R')
if not (running or given_up) or not mine then return answer({why = 'fenced'}) end

if rec.s == 'L' then
  if rec.t then
    redis.call('HINCRBY', job_key(job), 'took', at - rec.t)
    redis.call('HINCRBYFLOAT', job_key(job), 'took2', (at - rec.t) ^ 2) -- of days, too much for a whole number
  end
  end_lease(job, shard, rec)
end
redis.call('ZREM', ready_key(job), shard)
redis.call('ZREM', P .. 'hints', member(job, shard))
local counted = rec.x -- the same bytes were counted when they were committed first
rec.s, rec.d, rec.e, rec.x = 'D', ARGV[4], nil, nil
save_shard(job, shard, rec)
redis.call('HINCRBY', job_key(job), 'done', 1)
redis.call('HINCRBY', job_key(job), 'committed', ARGV[5])
if not counted then
  redis.call('HINCRBY', job_key(job), 'bytes', ARGV[6])
  add_bytes(redis.call('HGET', job_key(job), 'client'), tonumber(ARGV[6]))
end
end_wait(job)
advance(job, at)
close_if_complete(job)
wake_if_ending(job)
return answer({ok = true})
