/** Update of the model: begin, watch, end, announce a new version, go back to an older one. */

import { LostConnection } from './errors.js';
import * as server from './server.js';

const ASK_AGAIN = 2000;
const LOOK_AGAIN = 20000;

/**
 * @typedef {Object} TrainingState
 * @property {boolean} running
 * @property {number} done 0 to 1
 * @property {string} text
 * @property {string} version that serves
 * @property {boolean} mayRollBack
 */

/** What is known of training; whoever made it is called with each change. */
export class Training {
  /**
   * @param {() => void} onChange
   * @param {(text: string) => void} say
   */
  constructor(onChange, say) {
    this._onChange = onChange;
    this._say = say;
    /** @type {TrainingState} */
    this.state = { running: false, done: 0, text: '', version: '', mayRollBack: false };
    this.closed = false;
    void this._watch();
  }

  /** Ask no more. */
  close() {
    this.closed = true;
  }

  /** Begin. */
  async start() {
    await server.startTraining({});
    this._set({ running: true, done: 0, text: 'Training begins' });
    this._say('The model learns from all saved labels.');
  }

  /** End it; what it learned since the last published version is kept on the server. */
  async stop() {
    await server.stopTraining();
    this._say('The training was ended. The next one goes on where it stopped.');
  }

  /** Have the version before serve again. */
  async rollBack() {
    const { serving } = await server.rollBack();
    this._say(`From now on ${serving} answers.`);
    await this._lookAtVersion(false);
  }

  /** @param {Partial<TrainingState>} changes */
  _set(changes) {
    this.state = { ...this.state, ...changes };
    this._onChange();
  }

  async _watch() {
    let first = true;
    while (!this.closed) {
      try {
        await this._look(first);
        first = false;
      } catch (error) {
        if (!(error instanceof LostConnection)) {
          this._set({ text: String(error) });
        }
      }
      const pause = this.state.running ? ASK_AGAIN : LOOK_AGAIN;
      for (let waited = 0; waited < pause && !this.closed; waited += ASK_AGAIN) {
        await new Promise(resolve => setTimeout(resolve, ASK_AGAIN));
        if (this.state.running) {
          break;
        }
      }
    }
  }

  /** @param {boolean} first */
  async _look(first) {
    const was = this.state.running;
    const running = await server.isTraining();
    if (running) {
      this._set({ running, ...progressOf((await server.info()).train_stats?.samed2d ?? {}) });
    } else if (was) {
      const status = await server.trainingStatus();
      const lines = status?.details ?? [];
      const failed = status?.status !== 'DONE';
      this._set({ running, done: failed ? 0 : 1, text: failed ? (lines.at(-1) ?? '') : 'Trained' });
    }
    await this._lookAtVersion(!first);
  }

  /** @param {boolean} announce */
  async _lookAtVersion(announce) {
    const { serving, may_roll_back: mayRollBack } = await server.versions();
    if (announce && serving !== this.state.version) {
      this._say(`A new version answers from now on: ${serving}.`);
    }
    if (serving !== this.state.version || mayRollBack !== this.state.mayRollBack) {
      this._set({ version: serving, mayRollBack });
    }
  }
}

/** @param {Record<string, any>} stats */
function progressOf({ epoch = 0, total_epochs: total = 0, seconds_left: left, best_metric: best }) {
  const parts = [`Epoch ${epoch} of ${total || '?'}`];
  if (Number.isFinite(best)) {
    parts.push(`Dice ${Number(best).toFixed(3)}`);
  }
  if (Number.isFinite(left)) {
    parts.push(`${Math.ceil(left)} s left`);
  }
  return { done: total ? epoch / total : 0, text: parts.join(', ') };
}
