-- Shared by every script: start-time fair queueing, of clients and then of each client's jobs. Each has the turn at which it
-- may be served next; a newcomer begins at the current turn, so that nothing is gained by being away. Being served moves
-- one of weight w on by 1 / w. The next one is found without looking at the others, however many there are.
local function open_key(client) return P .. 'open:' .. client end
local function turn_of(name) return tonumber(redis.call('HGET', P .. 'turns', name) or '0') end
local function client_of(job) return redis.call('HGET', job_key(job), 'client') or '' end
local function weight_of(job) return 1.25 ^ num(job, 'priority') end

-- Let a job take turns. None can be more than one turn ahead; a later turn is left from before all were idle.
local function open_job(job)
  local client = client_of(job)
  redis.call('ZREM', P .. 'waiting', job)
  local turn = math.min(num(job, 'turn'), turn_of('jobs ' .. client) + 1 / weight_of(job))
  redis.call('ZADD', open_key(client), turn, job)
  redis.call('ZADD', P .. 'clients', 'NX', math.min(turn_of('client ' .. client), turn_of('now') + 1), client)
end

-- Take a job out of the turns.
local function dequeue_job(job)
  local client = client_of(job)
  redis.call('ZREM', P .. 'waiting', job)
  redis.call('ZREM', open_key(client), job)
  if redis.call('EXISTS', open_key(client)) == 0 then redis.call('ZREM', P .. 'clients', client) end
end

-- Take a job without a ready shard out of the turns, until one is ready if one will be.
local function park(job)
  dequeue_job(job)
  if is_newer(job) then
    redis.call('SADD', P .. 'newer', job)
    return
  end
  local next_one = redis.call('ZRANGE', ready_key(job), 0, 0, 'WITHSCORES')
  if next_one[1] then redis.call('ZADD', P .. 'waiting', next_one[2], job) end
end

-- Note that a shard of a job came back.
local function open_or_wait(job)
  if redis.call('ZSCORE', open_key(client_of(job)), job) then return end
  park(job)
  local at = redis.call('ZSCORE', P .. 'waiting', job)
  if at and tonumber(at) <= now() then open_job(job) end
end

-- Serve the next client and job: `next_shard` names a shard of a job, or nothing. Returns the job and its shard.
local function take_turn(next_shard)
  while true do
    local client = redis.call('ZRANGE', P .. 'clients', 0, 0, 'WITHSCORES')
    if not client[1] then return nil end
    local name, now_served = client[1], math.max(tonumber(client[2]), turn_of('now'))
    local first = redis.call('ZRANGE', open_key(name), 0, 0, 'WITHSCORES')
    local job, from = first[1], math.max(tonumber(first[2]), turn_of('jobs ' .. name))
    local shard = next_shard(job)
    if shard then
      local after = string.format('%.17g', from + 1 / weight_of(job))
      redis.call('HSET', job_key(job), 'turn', after)
      redis.call('ZADD', open_key(name), after, job)
      redis.call('ZADD', P .. 'clients', now_served + 1, name)
      redis.call('HSET', P .. 'turns', 'now', now_served, 'client ' .. name, now_served + 1,
        'jobs ' .. name, string.format('%.17g', from))
      return job, shard
    end
    park(job)
  end
end
