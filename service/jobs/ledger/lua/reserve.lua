-- Tie a request id to a job and count the job for its client, unless a quota forbids it. ARGV: request id, digest of the
-- parameters, job, backend name, client, images, most jobs, most images, most bytes (0: any), jobs whose files it needs,
-- its folder.
release_stale_reservations()
local key, job = P .. 'request:' .. ARGV[1], ARGV[3]
local text = ARGV[1] ~= '' and redis.call('GET', key)
if text then
  local known = cjson.decode(text)
  if known.digest ~= ARGV[2] then return answer({taken = known.job}) end
  if known.job ~= job then return answer({job = known.job}) end
end
if redis.call('EXISTS', job_key(job)) == 1 then return answer({job = job}) end

if redis.call('HEXISTS', P .. 'held', job) == 0 then
  local other = nested_reservation(ARGV[11])
  if other then return answer({nested = other}) end
  local over = over_quota(ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9])
  if over then return answer(over) end
  hold(job, ARGV[5], ARGV[6], ARGV[4], ARGV[10], ARGV[11])
end
redis.call('ZADD', P .. 'reserved', now() + RESERVATION_TTL_MS, job)
if ARGV[1] ~= '' then redis.call('SET', key, cjson.encode({digest = ARGV[2], job = job})) end
return answer({job = job})
