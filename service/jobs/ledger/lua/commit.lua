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
settle(job, shard, rec, ARGV[4], ARGV[5], ARGV[6])
end_wait(job)
advance(job, at)
close_if_complete(job)
wake_if_ending(job)
return answer({ok = true})
