-- Choose the shards to send hints for: lost ones again, then new ones by fair share, until `per_slot` hints for each live
-- worker slot are on their way. KEYS[2] is the broker's queue. ARGV: hints per slot, age after which a hint
-- that is no longer in the queue counts as lost, age after which a worker counts as dead.
local at, hints, slots = now(), {}, 0
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', at - tonumber(ARGV[3]))
for _, name in ipairs(redis.call('ZRANGE', P .. 'workers', 0, -1)) do
  slots = slots + tonumber(name:match('^%d+'))
end

local function send(job, shard)
  redis.call('ZADD', P .. 'hints', at, member(job, shard))
  table.insert(hints, {job, tonumber(shard)})
end

-- Hints of jobs that stopped are nobody's business any more.
local outstanding = 0
for _, name in ipairs(redis.call('ZRANGE', P .. 'hints', 0, -1)) do
  if goes_on(state_of(name:match('^%S+'))) then
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
    send(job, shard)
  end
end

local function next_ready(job)
  local back = redis.call('ZRANGEBYSCORE', ready_key(job), '-inf', at, 'LIMIT', 0, 1)[1]
  if back then
    redis.call('ZREM', ready_key(job), back)
    return back
  end
  local total, first = num(job, 'shards'), num(job, 'next')
  while first < total and redis.call('HEXISTS', shards_key(job), first) == 1 do first = first + 1 end
  redis.call('HSET', job_key(job), 'next', math.min(first + 1, total))
  if first < total then return first end
  if redis.call('EXISTS', ready_key(job)) == 0 then redis.call('ZREM', P .. 'open', job) end
  return nil
end

-- Start-time fair queueing, of clients and then of each client's jobs. Everyone has the turn at which they may be served
-- next; whoever comes late begins at the turn of now. A turn of weight w moves its taker on by 1 / w.
local function first_of(entries, turn)
  local best
  for i, entry in ipairs(entries) do
    entry.from = math.max(entry.turn, turn)
    if not best or entry.from < entries[best].from then best = i end
  end
  return best
end

local function in_turns()
  local clients, by_name = {}, {}
  for _, job in ipairs(redis.call('ZRANGE', P .. 'open', 0, 999)) do
    local fields = redis.call('HMGET', job_key(job), 'client', 'priority', 'turn')
    local name = fields[1] or ''
    if not by_name[name] then
      local turns = redis.call('HMGET', P .. 'turns', 'client ' .. name, 'jobs ' .. name)
      by_name[name] = {name = name, turn = tonumber(turns[1] or '0'), now = tonumber(turns[2] or '0'), jobs = {}}
      table.insert(clients, by_name[name])
    end
    local weight = 1.25 ^ tonumber(fields[2] or '0')
    table.insert(by_name[name].jobs, {id = job, turn = tonumber(fields[3] or '0'), weight = weight})
  end
  return clients
end

local budget = slots * tonumber(ARGV[1]) - outstanding
local clients = budget > 0 and in_turns() or {}
local turn = tonumber(redis.call('HGET', P .. 'turns', 'now') or '0')
while budget > 0 and #clients > 0 do
  local c = first_of(clients, turn)
  local client = clients[c]
  local j = first_of(client.jobs, client.now)
  local job = client.jobs[j]
  local shard = next_ready(job.id)
  if shard then
    send(job.id, shard)
    budget = budget - 1
    turn, client.turn = client.from, client.from + 1
    client.now, job.turn = job.from, job.from + 1 / job.weight
    redis.call('HSET', job_key(job.id), 'turn', string.format('%.17g', job.turn))
    redis.call('HSET', P .. 'turns', 'now', turn, 'client ' .. client.name, client.turn,
      'jobs ' .. client.name, string.format('%.17g', client.now))
  else
    table.remove(client.jobs, j)
    if #client.jobs == 0 then table.remove(clients, c) end
  end
end
if redis.call('EXISTS', P .. 'open') == 0 then redis.call('DEL', P .. 'turns') end

local busy = redis.call('ZCARD', P .. 'ending')
for _, name in ipairs(slots > 0 and {'open', 'leases', 'hints'} or {}) do
  busy = busy + redis.call('ZCARD', P .. name)
end
return answer({hints = hints, busy = busy > 0, slots = slots})
