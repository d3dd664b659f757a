-- Tell the job that a request id is tied to. ARGV: request id, digest of the parameters.
local text = redis.call('GET', P .. 'request:' .. ARGV[1])
if not text then return answer({job = ''}) end
local known = cjson.decode(text)
if known.digest ~= ARGV[2] then return answer({taken = known.job}) end
return answer({job = known.job})
