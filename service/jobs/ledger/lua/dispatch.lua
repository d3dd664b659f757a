-- Choose the shards to send hints for: lost ones again, then new ones by fair share, until `per_slot` hints for each live
-- worker slot are on their way. KEYS[2] is the broker's queue. ARGV: hints per slot, age after which a hint
-- that is no longer in the queue counts as lost, age after which a worker counts as dead.
local at, hints, slots = now(), {}, 0
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', at - tonumber(ARGV[3]))
for _, name in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
  slots = slots + tonumber(name:match('^%d+'))
end
redis.call('SET', P .. 'slots', slots)

local function send(job, shard)
  redis.call('ZADD', P .. 'hints', at, member(job, shard))
  table.insert(hints, {job, tonumber(shard)})
end

-- Drop hints of stopped jobs.
local outstanding = 0
for _, name in ipairs(redis.call('ZRANGE', P .. 'hints', 0, -1)) do
  local job = name:match('^%S+')
  if is_newer(job) then
    -- its hints are left to the Mintage that sent them
  elseif goes_on(state_of(job)) then
    outstanding = outstanding + 1
  else
    redis.call('ZREM', P .. 'hints', name)
  end
end

-- A worker claims at once what it takes from the queue. So of n hints, those beyond the queue's length are lost.
local lost = outstanding - redis.call('LLEN', KEYS[2])
if lost > 0 and slots > 0 then
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'hints', '-inf', at - tonumber(ARGV[2]), 'LIMIT', 0, lost)) do
    local job, shard = name:match('^(%S+) (%d+)$')
    if not is_newer(job) then send(job, shard) end
  end
end

local function next_ready(job)
  if is_newer(job) then return nil end
  local back = redis.call('ZRANGEBYSCORE', ready_key(job), '-inf', at, 'LIMIT', 0, 1)[1]
  if back then
    redis.call('ZREM', ready_key(job), back)
    return back
  end
  local total, first = num(job, 'shards'), num(job, 'next')
  while first < total and redis.call('HEXISTS', shards_key(job), first) == 1 do first = first + 1 end
  redis.call('HSET', job_key(job), 'next', math.min(first + 1, total))
  return first < total and first or nil
end

for _, job in ipairs(redis.call('ZRANGEBYSCORE', P .. 'waiting', '-inf', at, 'LIMIT', 0, 1000)) do open_job(job) end
for _ = 1, slots * tonumber(ARGV[1]) - outstanding do
  local job, shard = take_turn(next_ready)
  if not job then break end
  send(job, shard)
end
if redis.call('EXISTS', P .. 'clients', P .. 'waiting') == 0 then redis.call('DEL', P .. 'turns') end

local busy = redis.call('ZCARD', P .. 'ending')
for _, name in ipairs(slots > 0 and {'clients', 'waiting', 'leases', 'hints'} or {}) do
  busy = busy + redis.call('ZCARD', P .. name)
end
return answer({hints = hints, busy = busy > 0, slots = slots})
