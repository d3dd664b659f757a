-- Shared by every script, after the prelude: what each client has, and which models are needed.
local RESERVATION_TTL_MS = 600000

local function client_key(client) return P .. 'client:' .. client end

local function add_bytes(client, bytes)
  if bytes == 0 then return end
  redis.call('HINCRBY', client_key(client), 'bytes', bytes)
end

local function forget_if_idle(client)
  local used = redis.call('HMGET', client_key(client), 'jobs', 'images', 'bytes')
  for _, number in ipairs({used[1] or '0', used[2] or '0', used[3] or '0'}) do
    if number ~= '0' then return end
  end
  redis.call('DEL', client_key(client))
end

local function count(key, field, more)
  if redis.call('HINCRBY', P .. key, field, more) <= 0 then redis.call('HDEL', P .. key, field) end
end

-- Count a job for its client, pin its model, and keep the jobs whose files it needs, named in a row; each only once.
local function hold(job, client, images, backend, needs, folder)
  local what = {c = client, n = tonumber(images), b = backend, s = needs or '', f = folder}
  if redis.call('HSETNX', P .. 'held', job, cjson.encode(what)) == 0 then return end
  redis.call('HINCRBY', client_key(client), 'jobs', 1)
  redis.call('HINCRBY', client_key(client), 'images', images)
  count('pins', backend, 1)
  for source in what.s:gmatch('%S+') do count('needed', source, 1) end
end

local function release(job)
  local text = redis.call('HGET', P .. 'held', job)
  if not text then return end
  local what = cjson.decode(text)
  redis.call('HDEL', P .. 'held', job)
  redis.call('ZREM', P .. 'reserved', job)
  redis.call('HINCRBY', client_key(what.c), 'jobs', -1)
  redis.call('HINCRBY', client_key(what.c), 'images', 0 - what.n)
  count('pins', what.b, -1)
  for source in what.s:gmatch('%S+') do count('needed', source, -1) end
  forget_if_idle(what.c)
end

local function hold_again(job)
  local fields = redis.call('HMGET', job_key(job), 'client', 'images', 'backend', 'needs')
  if fields[2] then hold(job, fields[1], fields[2], fields[3], fields[4]) end
end

-- Release jobs that were reserved but never created.
local function release_stale_reservations()
  for _, job in ipairs(redis.call('ZRANGEBYSCORE', P .. 'reserved', '-inf', now(), 'LIMIT', 0, 100)) do
    redis.call('ZREM', P .. 'reserved', job)
    if redis.call('EXISTS', job_key(job)) == 0 then release(job) end
  end
end

-- Name the folder of a job that is being created in which another folder lies, or which lies in it. Once a job is created,
-- its plan tells.
local function nested_reservation(folder)
  for _, job in ipairs(redis.call('ZRANGE', P .. 'reserved', 0, -1)) do
    local text = redis.call('HGET', P .. 'held', job)
    local other = text and cjson.decode(text).f
    if other and ((folder .. '/'):sub(1, #other + 1) == other .. '/' or (other .. '/'):sub(1, #folder + 1) == folder .. '/')
      and other ~= folder then return other end
  end
end

-- Name the quota that forbids another job, if one does. Bytes are not known beforehand: their quota only must not be used up.
local function over_quota(client, images, max_jobs, max_images, max_bytes)
  local used = redis.call('HMGET', client_key(client), 'jobs', 'images', 'bytes')
  local function over(quota, most, now_used, wanted, least)
    most, now_used = tonumber(most), tonumber(now_used or '0')
    if most == 0 or now_used + least <= most then return nil end
    return {quota = quota, limit = most, used = now_used, requested = wanted}
  end
  return over('jobs', max_jobs, used[1], 1, 1) or over('images', max_images, used[2], images, images)
    or over('bytes', max_bytes, used[3], 0, 1)
end
