import { openMemoryStore } from '../../../scheduler/store/memory';
import { describeStore } from './contract';

describeStore('the memory store', async () => openMemoryStore());
