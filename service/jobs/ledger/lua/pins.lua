-- Name the models that jobs need. It is not known while Redis, emptied, was not told of the jobs on disk again.
local backends = redis.call('HKEYS', P .. 'pins')
return answer({known = redis.call('EXISTS', P .. 'rebuilt') == 1, backends = backends})
