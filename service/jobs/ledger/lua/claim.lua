-- Lease a ready shard. The same owner asking twice gets the same lease. ARGV: job, shard, owner, worker, lease.
local job, shard, at = ARGV[1], ARGV[2], now()
if is_newer(job) then return answer({why = 'newer'}) end
redis.call('ZREM', P .. 'hints', member(job, shard))
wake_if_few_hints()
local state = state_of(job)
if not state or tonumber(shard) >= num(job, 'shards') then return answer({why = 'unknown'}) end
local rec = load_shard(job, shard)
local plan = redis.call('HGET', job_key(job), 'plan')
if rec.s == 'L' and rec.o == ARGV[3] then return answer({attempt = rec.a, recorded = rec.x, plan = plan}) end
if not goes_on(state) then return answer({why = 'stopped'}) end
if rec.s ~= 'R' then return answer({why = ({L = 'leased', D = 'done', F = 'failed'})[rec.s]}) end
local earliest = redis.call('ZSCORE', ready_key(job), shard)
if earliest and tonumber(earliest) > at then return answer({why = 'wait'}) end

redis.call('ZREM', ready_key(job), shard)
rec.s, rec.a, rec.o, rec.w, rec.p, rec.t, rec.u = 'L', rec.a + 1, ARGV[3], ARGV[4], 0, at, at + tonumber(ARGV[5])
redis.call('ZADD', P .. 'leases', rec.u, member(job, shard))
redis.call('HINCRBY', job_key(job), 'running', 1)
redis.call('HINCRBY', job_key(job), 'attempts', 1)
redis.call('HSETNX', job_key(job), 'started', at)
if state == 'QUEUED' then set_state(job, 'RUNNING') end
save_shard(job, shard, rec)
return answer({attempt = rec.a, recorded = rec.x, plan = plan})
