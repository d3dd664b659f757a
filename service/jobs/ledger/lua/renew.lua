-- Keep a lease, tell how far the shard is, and book the next images. ARGV: job, shard, attempt, lease, images done in
-- this shard, images wanted next, most images a second (0: no bound), what keeps it from going on (empty: nothing).
local job, shard, at = ARGV[1], ARGV[2], now()
local rec = held(job, shard, ARGV[3])
if not rec then return answer({why = 'fenced'}) end
local state = state_of(job)
if state ~= 'RUNNING' then return answer({why = state == 'PAUSED' and 'paused' or 'cancelled'}) end
rec.u = at + tonumber(ARGV[4])
redis.call('ZADD', P .. 'leases', rec.u, member(job, shard))
local delta = tonumber(ARGV[5]) - rec.p
if delta > 0 then
  rec.p = rec.p + delta
  redis.call('HINCRBY', job_key(job), 'live', delta)
  advance(job, at)
  redis.call('HDEL', job_key(job), 'wait')
elseif ARGV[8] ~= '' then
  note_wait(job, ARGV[8])
end
save_shard(job, shard, rec)

local wanted, rate = tonumber(ARGV[6]), tonumber(ARGV[7])
if rate == 0 or wanted == 0 then return answer({wait_ms = 0}) end
local from = math.max(num(job, 'pace'), at)
redis.call('HSET', job_key(job), 'pace', from + wanted * 1000 / rate)
return answer({wait_ms = from - at})
